-- The same call switches back.
begin;
do $$
begin
    perform kompanion.register_model('small', 3);
    perform kompanion.register_model('large', 4);
    assert kompanion.set_default_model('large') = 'small';
    assert kompanion.set_default_model('small') = 'large';
end
$$;
rollback;
